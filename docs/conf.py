"""Sphinx: how the site is built. `tox -e docs` builds it without a warning."""

project = "derloop"
copyright = "the derloop authors"
html_title = "derloop"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
html_theme = "furo"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
