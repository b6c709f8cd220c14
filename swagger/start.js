// The description's paths are those of the service itself, which a proxy may have below a path of its own.
const root = new URL(".", document.baseURI).pathname;

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  showCommonExtensions: true,
  validatorUrl: null, // which is on the internet
  requestInterceptor(request) {
    if (request.loadSpec) return request;
    const url = new URL(request.url, document.baseURI);
    url.pathname = root + url.pathname.slice(1);
    request.url = url.href;
    return request;
  },
});
