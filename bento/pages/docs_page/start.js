// Shows the service's OpenAPI document; `validatorUrl: null` keeps Swagger UI from sending it to its own server.
SwaggerUIBundle({
  url: "docs.json",
  dom_id: "#endpoints",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  validatorUrl: null,
});
