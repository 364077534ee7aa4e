"""Models of the custom resources: the source of the CRDs, and the only way the operator reads them."""
