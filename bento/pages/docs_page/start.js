// Shows the service's OpenAPI document; `validatorUrl: null` keeps Swagger UI from asking a server of its own about it.
SwaggerUIBundle({
  url: "docs.json",
  dom_id: "#endpoints",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  validatorUrl: null,
});
