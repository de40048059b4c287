// What the stock SDK for Node says of a request that failed.

export async function error(call) {
  try {
    await call;
  } catch (raised) {
    return {
      class: raised.constructor.name,
      status: raised.status,
      code: raised.code,
      param: raised.param,
      request_id: Boolean(raised.requestID),
    };
  }
  return null;
}
