"""Files on disk, files of the request, and the one guarded way to fetch what lies outside."""
