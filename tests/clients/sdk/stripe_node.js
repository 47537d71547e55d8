const Stripe = require('stripe');
const { serve } = require('./calls');

serve(async ({ hostname: host, port }, key, name, retries) => {
  const stripe = new Stripe('sk_test_1', { host, port, protocol: 'http', maxNetworkRetries: retries, telemetry: false });
  const { id } = await stripe.customers.create({ name }, key ? { idempotencyKey: key } : {});
  return id;
});
