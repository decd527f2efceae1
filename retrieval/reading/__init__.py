"""What users' files say: records out of files, fields by their names, cells, conversations, pictures inside tables."""
