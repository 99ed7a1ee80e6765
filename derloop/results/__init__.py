"""What a run leaves: its series and events while it runs, and how they are read, compared and kept afterwards.

- `recorder`: `Recorder` takes what federates give out, and writes it as it comes;
- `events`: `Events` notes what happened besides;
- `store`: `RunFolder` reads a run, also one that was killed; `finish` makes Parquet of a run that has ended;
- `compare`: where two runs part first, and by how much;
- `golden`: results that are kept beside a scenario, and a run checked against them.

Importing any of these is cheap: pyarrow stands in `series` alone and is loaded when a series is first touched.
"""
