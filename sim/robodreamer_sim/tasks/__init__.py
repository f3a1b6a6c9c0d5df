"""Tasks by family. `catalog` has their names; a family is imported when a task of it is made."""
