"""The operator's only contact with the outside: the API server, the broker's admin protocol, the gateways."""
