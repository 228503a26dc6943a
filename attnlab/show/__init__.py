"""Records in, renderables and figures out. Only this wing knows rich's renderables and matplotlib."""
