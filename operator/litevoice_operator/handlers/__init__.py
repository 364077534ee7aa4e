"""kopf, and nothing but kopf: watches, the finalizer, survival of API server outages."""
