"""What a power cut leaves of a SQLite file while a real app works on it.

recorder.c     records what a process does to its files
workload.py    the app that is recorded
recording.py   the recording, entry by entry
disk.py        what a cut may leave of the files
facts.py       what was acknowledged before the cut
images.py      the images, opened by the real store and examined
"""
