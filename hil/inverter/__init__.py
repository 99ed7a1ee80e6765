"""A SunSpec device as a distributed energy resource: commanded, verified, measured.

Power is positive when injected into the grid, active and reactive, as SunSpec's models 701-713 have it. Used
are models 701 and 713 (measured), 702 (nameplate), 704 (limit and setpoints) and 705 (volt-var); any
other point is read and written, and any curve adopted, by name.
"""
