"""What there is: clusters, hosts, VMs, segments, snapshots, and the sightings they are derived from."""
