// Shows the service's OpenAPI document; `validatorUrl: null` keeps Swagger UI from sending it to its own server.
SwaggerUIBundle({
  url: "docs.json",
  dom_id: "#endpoints",
  deepLinking: true,
  defaultModelsExpandDepth: 0, // the schemas at the end are closed, and each endpoint shows its own
  displayRequestDuration: true,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  validatorUrl: null,
});
