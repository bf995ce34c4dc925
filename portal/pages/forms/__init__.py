"""The pages' forms: they turn a browser's input into a service's arguments, and decide nothing."""
