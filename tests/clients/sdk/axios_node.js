const { randomUUID } = require('node:crypto');
const axios = require('axios');
const { default: axiosRetry, isNetworkError, isRetryableError } = require('axios-retry');
const { serve } = require('./calls');

serve(async (url, key, name, retries) => {
  const client = axios.create({ baseURL: url.origin, proxy: false });
  axiosRetry(client, {
    retries,
    retryDelay: axiosRetry.exponentialDelay,
    retryCondition: (error) => isNetworkError(error) || isRetryableError(error) || error.response?.status === 409,
  });
  const headers = { 'Idempotency-Key': key ?? randomUUID(), Authorization: 'Bearer 1' };
  return (await client.post('/things', { name }, { headers })).data.id;
});
