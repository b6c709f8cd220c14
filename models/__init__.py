"""What is served, and how it gets here: catalog, download, preparation and the BentoML model store."""
