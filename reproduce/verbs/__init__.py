"""What each verb of the command line does; `reproduce/__main__.py` reads the words.

Packages from outside are imported where they are used: where one lacks, `doctor` still runs and the others say so.
"""
