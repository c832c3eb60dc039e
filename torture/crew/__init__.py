"""Worker processes that are started, paused and killed (`workers.py`), and the app they run (`app.py`)."""
