"""Tasks by family; `registry` knows their names and imports a family only when it is made."""
