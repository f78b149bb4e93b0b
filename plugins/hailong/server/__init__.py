"""One server with compose: what each container runs, the init job, health checks, people and their roles."""
