"""Who may do what: people, teams, roles, grants, and the one gate that decides by them."""
