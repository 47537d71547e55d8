const { randomUUID } = require('node:crypto');
const { serve } = require('./calls');

// It is an ES module only.
const got = import(require.resolve('got')).then((module) => module.got);

serve(async (url, key, name, retries) => {
  const headers = { 'Idempotency-Key': key ?? randomUUID(), Authorization: 'Bearer 1' };
  const statusCodes = [409, 500, 502, 503, 504];
  const calculateDelay = ({ computedValue, retryAfter }) => computedValue && (retryAfter ?? 200);
  const retry = { limit: retries, methods: ['POST'], statusCodes, calculateDelay };
  return (await (await got).post(`${url.origin}/things`, { json: { name }, headers, retry }).json()).id;
});
