package urlfix

// djangoURI is what dj-database-url and django-environ read.
var djangoURI = dialect{name: "django", read: parseWeb, tool: &djangoTool, query: queryForm}

var djangoTool = tool{name: "Django", rules: table()}
