"""Model bundles as files: which are known, fetching them from the hub, checking and removing them."""
