"""nx-27017 with one thing set right: its updates in SQL round doubles to 15 digits, those in Python do not."""

from neosqlite.collection.query_helper._sql_updates import SqlUpdatesMixin
from nx_27017.nx_27017 import main

SqlUpdatesMixin._can_use_sql_updates = lambda *_: False  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
