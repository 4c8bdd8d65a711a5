"""Reports from records: tables, plots, one page that asks nothing of any network."""
