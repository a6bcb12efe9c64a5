//! Damage that is done beside a running server is found, told once, and told to be over.

use hindcast_model::event::Event;

use super::support::{World, in_system, options, until, validate};

fn told(world: &World) -> (usize, usize) {
    (
        world.count(|event| matches!(event, Event::DamageFound(_))),
        world.count(|event| matches!(event, Event::DamageGone(_))),
    )
}

#[test]
fn damage_is_found_told_once_and_told_to_be_gone() {
    in_system(async {
        let world = World::new(options());
        let run = validate();
        world.actors.experiment.request_run(run).await.unwrap();
        let kept = world.log.blobs().put(b"some content").unwrap();
        let name = kept.digest().to_string();
        let path = world
            .log
            .data_dir()
            .join("blobs")
            .join(&name[..2])
            .join(&name[2..]);
        std::fs::write(&path, b"other content").unwrap();
        for _ in 0..2 {
            assert!(world.actors.scrub.begin());
            let damaged = || world.log.state(|state| state.damaged().len());
            until("the damage is found", || damaged() == 1).await;
        }
        let file = format!("blobs/{}/{}", &name[..2], &name[2..]);
        world.log.state(|state| {
            let (found, damage) = state.damaged().next().unwrap();
            assert_eq!(found, file);
            assert!(damage.what.contains("another hash"), "{}", damage.what);
        });
        assert_eq!(told(&world), (1, 0));
        std::fs::write(&path, b"some content").unwrap();
        until("the damage is gone", || {
            let _asked = world.actors.scrub.begin();
            world.log.state(|state| state.damaged().len()) == 0
        })
        .await;
        assert_eq!(told(&world), (1, 1));
        world.stop().await;
    });
}
