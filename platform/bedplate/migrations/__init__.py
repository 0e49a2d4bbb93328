"""The schema of the metadata database, revision by revision (Alembic, used as a library).

`versions/` holds one file a revision; a revision that was released never changes. To change the schema: change the
tables in database.py, add a file there, add its name to REVISIONS. tests/platform/test_database.py compares the two.
This module itself imports nothing: a database that is up to date is opened without Alembic, which takes 0.2 s to load.
"""

__all__ = ["HEAD", "REVISIONS"]

REVISIONS = ("0001", "0002", "0003", "0004")
HEAD = REVISIONS[-1]
