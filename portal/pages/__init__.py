"""The web portal's pages: one file per noun. They show what was observed, with its age; services change it."""
