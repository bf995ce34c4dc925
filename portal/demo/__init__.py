"""The demo: people of different teams maintaining real guests through the REST API, told and measured as it goes."""
