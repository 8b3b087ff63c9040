// k6 run -e BASE_URL=http://localhost:3000 stress.js
// Mostly repeated reads, some unique ones and a few writes; fails on errors and on a poor hit ratio.
import http from 'k6/http';
import { check } from 'k6';
import { Rate, Trend } from 'k6/metrics';

const base = __ENV.BASE_URL || 'http://localhost:3000';
const path = __ENV.READ_PATH || '/items';
const hits = new Rate('cache_hits');
const hitTime = new Trend('cache_hit_duration', true);
const missTime = new Trend('cache_miss_duration', true);

export const options = {
  scenarios: {
    readers: {
      executor: 'ramping-vus',
      exec: 'read',
      stages: [
        { duration: '10s', target: 50 },
        { duration: __ENV.DURATION || '40s', target: 200 },
        { duration: '10s', target: 0 },
      ],
    },
    strangers: { executor: 'constant-arrival-rate', exec: 'readUnique', rate: 20, timeUnit: '1s', duration: '60s', preAllocatedVUs: 20 },
    writers: { executor: 'constant-arrival-rate', exec: 'write', rate: 1, timeUnit: '5s', duration: '60s', preAllocatedVUs: 2 },
  },
  thresholds: {
    http_req_failed: ['rate<0.01'],
    cache_hits: ['rate>0.8'],
    cache_hit_duration: ['p(95)<50'],
  },
};

const HITS = ['HOT_HIT', 'HIT', 'REVALIDATED', 'STALE'];

function record(response) {
  const hit = HITS.includes(response.headers['X-Cache-Status']);
  (hit ? hitTime : missTime).add(response.timings.duration);
  return hit;
}

export function read() {
  const response = http.get(`${base}${path}`, { tags: { name: 'read' } });
  check(response, { 'read is 200': (r) => r.status === 200 });
  hits.add(record(response));
}

export function readUnique() {
  const response = http.get(`${base}${path}?unique=${__VU}-${__ITER}-${Date.now()}`, { tags: { name: 'unique' } });
  check(response, { 'unique read is 200': (r) => r.status === 200 });
  record(response);
}

export function write() {
  const body = JSON.stringify({ name: `stress ${Date.now()}`, price: 1 });
  const response = http.post(`${base}${path}/1`, body, { headers: { 'Content-Type': 'application/json' }, tags: { name: 'write' } });
  check(response, { 'write is 2xx': (r) => r.status >= 200 && r.status < 300 });
}
