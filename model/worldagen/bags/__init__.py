"""Bags: standard rosbag2 folders of MCAP files, written, read, checked and recovered without ROS.

- writer.py: messages in, a folder out; recording.py does so while they arrive, in a thread, and disk.py says when to stop
- reader.py: a folder in, messages out; streams.py makes arrays of them
- contract.py: what a bag should hold; check.py: what it does hold, against that
- recover.py: a whole bag of what a killed recorder left; thumbnails.py: a bag at a glance; report.py: both in words
- metadata_file.py, mcap_file.py, mcap_writer.py: the parts of the format
"""
