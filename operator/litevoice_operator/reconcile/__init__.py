"""One loop per custom resource: observe, decide, apply. It looks at the present, never at what an event said."""
