"""What nbgrader must know in every user's server: the course, and where the exchange is."""

c = get_config()  # noqa: F821 (nbgrader defines it)

c.CourseDirectory.course_id = "qlearn"
c.Exchange.root = "/srv/nbgrader/exchange"

# Students see, fetch and submit what belongs to the courses whose groups they are in on the hub.
c.Authenticator.plugin_class = "nbgrader.auth.JupyterHubAuthPlugin"
