"""What every program of the data plane is as a member of the mesh: its certificates, its snapshot, its workers."""
