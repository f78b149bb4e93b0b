"""The PostgreSQL warehouse: reaching it, its embedded default, its schema versions, its builds."""
