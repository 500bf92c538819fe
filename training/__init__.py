"""Programs that train what the package ships. Not part of the package."""
