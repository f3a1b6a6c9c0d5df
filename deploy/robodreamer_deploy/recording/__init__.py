"""What a drive leaves behind: logs to look at, to repeat bit for bit, and to learn from."""
