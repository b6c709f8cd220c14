// The description's paths are those of the service itself, which a proxy may have below a path of its own.
const root = new URL(".", document.baseURI);
root.username = root.password = ""; // for a proxy: the browser sends them itself, and lets no request name them

SwaggerUIBundle({
  url: new URL("openapi.json", root).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
  validatorUrl: null, // which is on the internet
  requestInterceptor(request) {
    if (request.loadSpec) return request;
    const url = new URL(request.url, root);
    url.username = url.password = "";
    url.pathname = root.pathname + url.pathname.slice(1);
    request.url = url.href;
    return request;
  },
});
