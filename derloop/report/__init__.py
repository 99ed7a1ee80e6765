"""The page that people look at: one self-contained HTML file for each run.

- `page`: `write_report` makes the page out of a run's folder;
- `figures`: the charts, chosen by what was recorded; `traces` what they consist of; `every_signal` the rest;
- `wording`: numbers, times and settings as text.

plotly's JavaScript is copied from the installed package; its Python, which takes long to import, is not used.
"""
