"""Records become the report: values in, text out. No I/O but the templates of this package, no Prefect."""
