"""The whole way in one command: a simulated city, three detectors in it, the official scores, and a page to look at.

run.py takes the steps, pictures.py draws what each detector sees, and page.py writes the report.
"""
