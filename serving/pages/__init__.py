"""Pages and scripts for browsers, from the files of ``serving/assets``. What ``app`` mounts."""
