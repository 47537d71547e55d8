use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::api::Trouble;
use crate::support::eventually;
use crate::world::*;

#[tokio::test]
async fn a_retry_while_the_first_try_is_at_work_waits_for_its_answer() {
    let world = World::of("queue").await;
    let gate = CancellationToken::new();
    world.api.next(Trouble::Slow(gate.clone()));
    let job = keyed("/jobs", "job-1", &json!({"do": "it"}));
    let mut gone = world.proxy.connect().await;
    gone.send(&bearing(job.clone(), "worker-1").bytes()).await;
    eventually(|| world.api.effects().len() == 1).await;
    // The worker's timeout passed, and another one has the job.
    gone.abort();
    let opened = async {
        world.waiting(1).await;
        gate.cancel();
    };
    let retry = bearing(job.clone(), "worker-2");
    let (answer, ()) = tokio::join!(world.send(&retry), opened);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(
        answer.field("x-idempotency-replay").as_deref(),
        Some("true")
    );
    assert_eq!(world.api.asked(), 1);
}

#[tokio::test]
async fn a_job_without_a_key_is_refused() {
    let world = World::of("queue").await;
    let job = json("POST", "/jobs", &json!({"do": "it"}));
    world.send(&job).await.is_refused(400, "key-missing");
    assert_eq!(world.api.asked(), 0);
}

#[tokio::test]
async fn a_busy_api_is_asked_again_before_the_job_goes_back() {
    let world = World::of("queue").await;
    world.api.next(Trouble::Busy);
    let job = keyed("/jobs", "job-1", &json!({"do": "it"}));
    let first = world.send(&job).await;
    first.is_kept(201);
    world.send(&job).await.repeats(&first);
    assert_eq!((world.api.asked(), world.api.effects().len()), (2, 1));
}
