"""The lab's web server: IIS with its sites, pools and bindings, and EngageIP's pages that need their database."""
