"""The pages of Studio: one module a page. Each is found by itself (site.py), so a new page is a new file here."""
