"""What happens, in order: one Prefect flow a file, each a table of contents."""
