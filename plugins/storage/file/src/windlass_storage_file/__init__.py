"""Files on local and network-mounted disks."""
