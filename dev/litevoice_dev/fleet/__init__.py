"""A fleet on a cluster that is scaled, rolled, drained and struck while people call: what is done, and the judge."""
